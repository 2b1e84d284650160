"""From sources to a cited answer: the prompt, the LCEL chain and the check of its citations."""
