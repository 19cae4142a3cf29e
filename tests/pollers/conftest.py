"""moto's server: SQS and SNS that boto3 talks to over HTTP."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest

from streams.providers.ses import Config

REGION = "eu-west-1"


@dataclass
class Aws:
    """Clients of one moto server, a topic and a queue that only this test knows."""

    url: str
    sqs: Any
    sns: Any
    topic_arn: str
    queue_url: str
    dead_url: str

    def config(self, **more: Any) -> Config:
        given: dict[str, Any] = {
            "region": REGION,
            "access_key_id": "test",
            "secret_access_key": "test",
            "topic_arns": (self.topic_arn,),
            "sqs_queue_url": self.queue_url,
            "sqs_endpoint_url": self.url,
            "sqs_wait_s": 0,
        }
        return Config(**{**given, **more})

    def subscribe(self, *, raw: bool) -> None:
        """The queue to the topic."""
        attributes = {"RawMessageDelivery": "true"} if raw else {}
        self.sns.subscribe(
            TopicArn=self.topic_arn, Protocol="sqs", Endpoint=self.arn(self.queue_url), Attributes=attributes
        )

    def arn(self, queue_url: str) -> str:
        found = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def redrive(self, times: int) -> None:
        """The queue gets a redrive policy."""
        policy = {"deadLetterTargetArn": self.arn(self.dead_url), "maxReceiveCount": times}
        self.sqs.set_queue_attributes(QueueUrl=self.queue_url, Attributes={"RedrivePolicy": json.dumps(policy)})

    def left(self) -> tuple[int, int]:
        """Visible and hidden messages."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto's own
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str) -> Aws:
    options = {
        "region_name": REGION,
        "endpoint_url": moto_url,
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    sqs, sns = boto3.client("sqs", **options), boto3.client("sns", **options)
    name = f"events-{uuid4().hex[:8]}"
    topic = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    return Aws(moto_url, sqs, sns, topic, queue, dead)
