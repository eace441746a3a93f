"""``python -m tinygrad_rnn.testing.fuzz``: the fuzzer's command line."""

import sys

from .run import main

if __name__ == "__main__":
    sys.exit(main())
