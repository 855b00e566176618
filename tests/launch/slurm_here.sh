#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests/launch/test_slurm.py and for trying things out.
# Needs Debian's slurm-wlm and munge (apt-get install slurm-wlm munge) and root.
#   tests/launch/slurm_here.sh up      start munged, slurmctld and slurmd; state in /var/tmp/slurm-here
#   tests/launch/slurm_here.sh down    stop them and remove the state
#   BENCH_SLURM=1 python -m pytest -n 0 tests/launch/test_slurm.py
set -euo pipefail
state=/var/tmp/slurm-here
conf=/etc/slurm/slurm.conf

up() {
    mkdir -p "$state/ctld" "$state/d" /run/munge /etc/slurm
    [ -s /etc/munge/munge.key ] || { dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key status=none; }
    chown munge: /etc/munge/munge.key /run/munge
    chmod 400 /etc/munge/munge.key
    pgrep -x munged > /dev/null || runuser -u munge -- /usr/sbin/munged
    host=$(hostname -s)
    cat > "$conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
KillWait=30
InactiveLimit=0
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    # No cgroups in a container: Slurm must not look for them.
    printf 'CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n' > /etc/slurm/cgroup.conf
    slurmctld
    slurmd
    for _ in $(seq 30); do
        sinfo --noheader --format=%T 2> /dev/null | grep -qE 'idle|mixed|alloc' && { sinfo; return; }
        sleep 1
    done
    tail -n 20 "$state"/*.log >&2
    exit 1
}

down() {
    scancel --user "$(id -un)" 2> /dev/null || true
    pkill -x slurmd || true
    pkill -x slurmctld || true
    pkill -x munged || true
    rm -rf "$state"
}

"${1:-up}"
