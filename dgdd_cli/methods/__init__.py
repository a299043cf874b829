"""What a step is: feature matching and gradient matching."""
