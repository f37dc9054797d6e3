"""holterd: a gRPC server that samples an ECG front end and classifies what it sees."""
