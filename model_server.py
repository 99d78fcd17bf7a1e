"""The model server: `python model_server.py --model-path zai-org/glm-4-voice-9b --device cuda`.

Flags: --host, --port, --model-path, --dtype, --device as in the original; `--help` lists all.
"""

import sys

from antiphon.serving import main

if __name__ == "__main__":
    sys.exit(main())
