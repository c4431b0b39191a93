"""Why a job waits, is not running as wished, or how it ended: findings after the queue."""
