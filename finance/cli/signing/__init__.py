"""Keys: signers, rotate, rotate_create, signing_proxy; key_options is what they share."""
