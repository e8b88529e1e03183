"""Trust: roots, keys, signatures, approvals, policies, and every decision made from them."""
