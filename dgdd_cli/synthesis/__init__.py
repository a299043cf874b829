"""What is stored, how it starts, and how it decodes to training images."""
