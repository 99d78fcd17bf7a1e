"""The web demo: `python web_demo.py`, beside a running `python model_server.py`.

Flags: --flow-path, --model-path, --tokenizer-path as in the original, and --host, --port,
--server-url and more; `--help` lists all.
"""

import sys

from antiphon.web import main

if __name__ == "__main__":
    sys.exit(main())
