"""Data sets as they are downloaded, made into one study folder."""
