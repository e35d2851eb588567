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
        SystemExit: something is wrong, or could not be judged; nothing was uploaded.
    """
    report = mtpfix.check(folder, vllm=[vllm])
    if report.exit_code:
        told = [f"{finding.code}: {finding.message}" for finding in report.findings]
        raise SystemExit("\n".join([f"not uploaded: {folder}", *told, *report.notes]))
    done = HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    return str(done.commit_url)


if __name__ == "__main__":
    print(upload(*sys.argv[1:]))
