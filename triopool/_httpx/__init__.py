"""The pool as a transport of httpx and httpx2. The two differ in nothing but their names."""
