"""People who sign in, by password and one-time code or from outside, and how they are managed."""
