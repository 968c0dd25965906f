"""The Kafka client of the original's workers and reporter, used as they use it.

    produce SERVERS TOPIC TEXT     sends bytes without a key
    consume SERVERS TOPIC COUNT    prints key and value of so many messages
"""

import sys

from kafka import KafkaConsumer, KafkaProducer


def produce(servers, topic, text):
    producer = KafkaProducer(bootstrap_servers=servers, value_serializer=lambda text: text.encode("utf-8"))
    producer.send(topic, text).get(timeout=60)
    producer.flush()


def consume(servers, topic, count):
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=60000)
    for number, message in enumerate(consumer, 1):
        print(message.key.decode(), message.value.decode())
        if number == int(count):
            return
    sys.exit("error: no more messages")


{"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
