"""What each key signed, as the database knows it: signer_uses."""
