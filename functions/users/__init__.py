"""What users ask for, and how often they may be told: profiles, quiet hours, cooldowns, digests."""
