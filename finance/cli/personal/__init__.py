"""personal: erase the personal data of one event."""
