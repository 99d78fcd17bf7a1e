"""The full domain: skills in English and Mandarin, one function each, and the table of them."""
