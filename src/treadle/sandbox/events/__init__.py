"""The API of the shop's events: products seen, put into the cart and bought, in pages.

How it works inside: no event is stored. Each is computed from a seed, its week and its place in the list, so any page of any week can be
made alone, the same one each time, however many events the week has.
"""
