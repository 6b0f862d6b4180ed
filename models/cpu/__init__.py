"""LSTM training and scoring on a CPU with TensorFlow, faster than Keras's layers."""
