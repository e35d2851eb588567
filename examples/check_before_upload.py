"""Check before `upload_folder`: a broken checkpoint does not reach the Hub.

python examples/check_before_upload.py FOLDER org/name
"""

from __future__ import annotations

import sys
from pathlib import Path

from huggingface_hub import HfApi

import mtpfix


def upload(folder: str | Path, repo_id: str, *, vllm: str = ">=0.28") -> str:
    """Uploads a checkpoint if vLLM builds all of it as it is stored; the URL of the commit.

    Raises:
        GateError: something is wrong, or could not be judged; nothing was uploaded.
    """
    upload_folder = mtpfix.gated(HfApi().upload_folder, vllm=[vllm])
    return str(upload_folder(repo_id=repo_id, folder_path=folder).commit_url)


if __name__ == "__main__":
    try:
        print(upload(*sys.argv[1:]))
    except mtpfix.GateError as error:
        sys.exit(error.report.render())
