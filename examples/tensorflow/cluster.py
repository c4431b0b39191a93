"""What TensorFlow's distribution strategies read first: who is in the cluster, and which one this is.

A stand-in for a training with `tf.distribute.MultiWorkerMirroredStrategy()`, which needs TF_CONFIG alone.
"""

from __future__ import annotations

import json
import os


def main() -> None:
    config = json.loads(os.environ["TF_CONFIG"])
    workers, task = config["cluster"]["worker"], config["task"]
    assert task["type"] == "worker" and len(set(workers)) == len(workers), config
    print(f"worker {task['index']} of {len(workers)} listens at {workers[task['index']]}")


if __name__ == "__main__":
    main()
