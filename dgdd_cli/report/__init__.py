"""Pictures and pages made from a bundle."""
