"""What the author of a function has at hand: a module to begin with, trials on files, a look at what runs."""
