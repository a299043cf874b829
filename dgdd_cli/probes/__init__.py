"""What images are compared through: views, pools of networks, the bank of exact statistics."""
