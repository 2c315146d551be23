"""Video files: what is in them, which moments to look at, and the pictures there.

The only place in vidzip that imports a decoder, and it does so in its modules only: importing this package, or what
the planner needs of it, costs nothing.
"""
