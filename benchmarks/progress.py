"""What a long run says on the way."""

import sys


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
