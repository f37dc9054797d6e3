"""holter: convert, prove, deploy and watch ECG models on Holter devices."""
