"""The ledger, the registry and the promotion protocol."""
