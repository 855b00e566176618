# reprune in a container. Its default command measures the shipped checkpoints (no network needed):
#   docker build -t reprune . && docker run --rm reprune
# Results and downloads are kept in a volume:
#   docker run --rm -v reprune:/home/bench/data reprune reproduce dense-resnet20-cifar10
# With CUDA:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 -t reprune:cuda .
#   docker run --rm --gpus all reprune:cuda doctor
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# g++ for torch.compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/reprune
COPY constraints.txt ./
RUN pip install --no-cache-dir torch torchvision --index-url "$TORCH_INDEX" -c constraints.txt
COPY . .
RUN pip install --no-cache-dir ".[latency,shrink,keras]" -c constraints.txt

RUN useradd --create-home bench && mkdir /home/bench/data && chown bench /home/bench/data
USER bench
WORKDIR /home/bench
ENV BENCH_HOME=/home/bench/data
VOLUME /home/bench/data

ENTRYPOINT ["bench"]
CMD ["reproduce", "--suite", "quickstart"]
