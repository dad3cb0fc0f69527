"""Which proxy a request goes through, and on which way; the dial and the exchange do the rest."""
