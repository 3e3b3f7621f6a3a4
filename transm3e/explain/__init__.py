"""Where a model looks: Grad-CAM, attention of tokens, importance of joints, and the deletion test that checks them."""
