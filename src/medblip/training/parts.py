"""Names of the losses, as outputs, weights and logs call them."""

PARTS = ("itc_record", "itc_answer", "language")
