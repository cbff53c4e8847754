"""Money for sellers: payout (payout_shown), hold (let payouts wait), approvers; options: what they share."""
