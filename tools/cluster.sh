#!/usr/bin/env bash
# cluster.sh start|stop|fail NODE|repair NODE: a Slurm cluster of two nodes on this machine, to try what is meant for a
# real one. Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; no service is installed or changed.
# Everything lies in $CLUSTER (/tmp/idinvert-cluster); until `stop`, /etc/slurm/slurm.conf is a link to its settings.
set -euo pipefail
export PATH="$PATH:/usr/sbin"
CLUSTER="${CLUSTER:-/tmp/idinvert-cluster}"
NODES=(one two)
CONF=/etc/slurm/slurm.conf # where programs look that know of no other, such as the jobs of Snakemake

configure() {
    [[ ! -e $CONF ]] || { echo "error: $CONF is there: this machine has a cluster already." >&2; exit 1; }
    mkdir -p "$CLUSTER"/{state,log} "$(dirname "$CONF")"
    ln -sfn "$CLUSTER/slurm.conf" "$CONF"
    [[ -f $CLUSTER/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom >"$CLUSTER/munge.key")
    cat >"$CLUSTER/slurm.conf" <<END
ClusterName=idinvert
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$CLUSTER/munge.socket
CredType=cred/munge
StateSaveLocation=$CLUSTER/state
SlurmctldPidFile=$CLUSTER/slurmctld.pid
SlurmctldLogFile=$CLUSTER/log/slurmctld
SlurmdPidFile=$CLUSTER/slurmd-%n.pid
SlurmdLogFile=$CLUSTER/log/slurmd-%n
SlurmdSpoolDir=$CLUSTER/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
SlurmdTimeout=20
MinJobAge=3600
KillWait=5
MpiDefault=none
NodeName=one NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=16821 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=10000
NodeName=two NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=16822 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=10000
PartitionName=cpus Nodes=one,two Default=YES MaxTime=INFINITE State=UP
END
}

node() { # start the daemon of a node
    mkdir -p "$CLUSTER/spool-$1"
    slurmd -N "$1"
}

end() { # end the process whose number a file holds, if it is there
    [[ -f $1 ]] && kill "${2:--TERM}" "$(cat "$1")" 2>/dev/null || true
}

case "${1:-}" in
start)
    configure
    munged --force --key-file="$CLUSTER/munge.key" --socket="$CLUSTER/munge.socket" \
        --pid-file="$CLUSTER/munged.pid" --log-file="$CLUSTER/log/munged" --seed-file="$CLUSTER/munge.seed"
    slurmctld
    for name in "${NODES[@]}"; do node "$name"; done
    for _ in $(seq 30); do
        [[ $(sinfo --noheader --states=idle --format=%D 2>/dev/null) == "${#NODES[@]}" ]] && break
        sleep 1
    done
    sinfo
    ;;
stop)
    for name in "${NODES[@]}"; do end "$CLUSTER/slurmd-$name.pid"; done
    end "$CLUSTER/slurmctld.pid"
    end "$CLUSTER/munged.pid"
    rm -f "$CONF"
    ;;
fail) # as if the node's power went: its daemon and its jobs are killed
    end "$CLUSTER/slurmd-$2.pid" -KILL
    scontrol update nodename="$2" state=down reason="taken down"
    for environment in /proc/[0-9]*/environ; do
        if grep -qzx "SLURMD_NODENAME=$2" "$environment" && grep -qzx "SLURM_CLUSTER_NAME=idinvert" "$environment"; then
            process="${environment#/proc/}"
            kill -KILL "${process%/environ}" 2>/dev/null || true
        fi
    done 2>/dev/null
    ;;
repair)
    node "$2"
    ;;
*)
    sed -n '2,4s/^# //p' "$0"
    exit 2
    ;;
esac
