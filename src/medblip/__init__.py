"""MedBLIP: a language model that reads a 3D brain scan together with the patient's record."""

__version__ = "0.1.0"
