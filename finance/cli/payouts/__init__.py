"""Money for sellers: payout (ask, approve, release), hold (let payouts wait), approvers (who approves)."""
