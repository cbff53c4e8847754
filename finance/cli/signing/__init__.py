"""Keys: signers (signers_list), rotate, rotate_create, signing_proxy; key_options is what they share."""
