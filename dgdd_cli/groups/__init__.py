"""Groups of images: finding, describing and keeping them."""
