"""Money for sellers: payout (ask, approve, release; payout_shown), hold (let payouts wait), approvers."""
