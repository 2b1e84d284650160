"""``python -m rag_chain``."""

import sys

from rag_chain.cli import main

if __name__ == "__main__":
    sys.exit(main())
