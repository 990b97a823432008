"""People who sign in to the portal: passwords, second factors, sessions, invitations, their management."""
