"""Sources, the label clock, ticks and spans, the contract and content digests."""
