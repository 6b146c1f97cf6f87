"""An OpenID provider for people: a login page with three local users, so that sign-in and roles run on this machine."""
