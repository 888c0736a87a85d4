"""What a person sees on a terminal: tables, trends and a search as it goes; elsewhere plain lines say the same."""
