"""Ask `/readyz` of the worker in this container: exit code 0 if an image would be kept now, else 1.

What it says, the failing checks with their mend, stands in `docker inspect`.
"""

import os
import sys
import urllib.error
import urllib.request

address = f"http://127.0.0.1:{os.environ.get('BONEAGE_HTTP__PORT', '8080')}/readyz"
try:
    with urllib.request.urlopen(address, timeout=8) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
except OSError as error:
    sys.exit(f"{address} does not answer: {error}")
