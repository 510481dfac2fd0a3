"""What hostile clients, and a stop under load, do to a server of fastchat: ``make hostile``."""
