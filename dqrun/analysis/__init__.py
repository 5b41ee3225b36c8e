"""What a person sees: progress while trials run, tables when they are done."""
