"""The plan: what each stage will cost, before it runs."""
