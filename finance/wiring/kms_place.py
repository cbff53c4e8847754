"""Where KMS is, and as whom it is asked, from the settings of one key.

Guarantees: the extra [aws] is imported when it is asked for, and not before.
Does not: open a client; `KmsPlace.open` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finance.settings.extras import needs_extra
from finance.settings.signing import KmsKeySettings

if TYPE_CHECKING:
    from producers.signing.kms_client import KmsPlace


def place_of(key: KmsKeySettings) -> KmsPlace:
    """The place of a key. Raises Refused without the extra."""
    with needs_extra():
        from producers.signing.kms_client import KmsPlace
    return KmsPlace(key.region, key.endpoint, key.access_key, key.secret, key.tls.ca_file, key.tls.client_pair)
