"""What the package needs, said before any of its modules asks for it."""

from lpnum._optional import optional_import

optional_import("torch", "torch", "lpnum_optim.deep")
