"""What each launcher tells its processes, and what contradicts itself."""

import pytest

from exastorm.errors import InputError
from exastorm.parallel.launch.launchers import Launch, read_launch
from exastorm.parallel.launch.slurm import first_of

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
SRUN = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "gnode[10,20]",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.99",
}
# The shell of an sbatch script is told of 4 tasks, but is none of them.
SBATCH = {
    "SLURM_JOB_ID": "200505",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "gnode[10,20,25,37]",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "PMIX_NAMESPACE": "prterun-node1-77@1",
    "PMIX_RANK": "5",
}
HYDRA = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
PALS = {"PMI_RANK": "5", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "4"}
MVAPICH = {
    "MV2_COMM_WORLD_RANK": "5",
    "MV2_COMM_WORLD_SIZE": "8",
    "MV2_COMM_WORLD_LOCAL_RANK": "1",
    "MV2_COMM_WORLD_LOCAL_SIZE": "4",
}
MEET = {"MASTER_ADDR": "node1", "MASTER_PORT": "1234"}

# What launchers really set (only what says who and where), as the last of three ranks saw it: the
# second node's only one, where there are two.
SEEN = {
    # Open MPI 5.0.11, mpirun -n 3 on one machine with two cores.
    "Open MPI": {
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
        "OMPI_COMM_WORLD_NODE_RANK": "1",
        "OMPI_COMM_WORLD_RANK": "2",
        "OMPI_COMM_WORLD_SIZE": "3",
        "PMIX_HOSTNAME": "vm",
        "PMIX_NAMESPACE": "prterun-vm-3226@1",
        "PMIX_RANK": "2",
    },
    # MPICH 5.0.2, mpiexec -n 3 in a job of Slurm on two nodes.
    "MPICH": {
        "MPI_LOCALNRANKS": "1",
        "MPI_LOCALRANKID": "0",
        "PMI_FD": "5",
        "PMI_HOSTNAME": "n2",
        "PMI_RANK": "2",
        "PMI_SIZE": "3",
    },
    # Intel MPI 2021.19.0, mpirun -n 3 on one machine.
    "Intel MPI": {
        "I_MPI_HYDRA_UUID": "2a4b0000-ad8c-2ca9-f860-0600939bbf02",
        "MPI_LOCALNRANKS": "3",
        "MPI_LOCALRANKID": "2",
        "PMI_FD": "11",
        "PMI_RANK": "2",
        "PMI_SIZE": "3",
    },
    # Slurm 22.05.8, srun -N 2 -n 3.
    "Slurm": {
        "SLURM_GTIDS": "2",
        "SLURM_JOBID": "1",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_LOCALID": "0",
        "SLURM_NNODES": "2",
        "SLURM_NODEID": "1",
        "SLURM_NODELIST": "n[1-2]",
        "SLURM_NPROCS": "3",
        "SLURM_NTASKS": "3",
        "SLURM_PROCID": "2",
        "SLURM_STEPID": "0",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "n[1-2]",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_TASKS_PER_NODE": "2,1",
    },
}
# Slurm 22.05.8, srun --mpi=pmi2 and --mpi=pmix (PMIx 4.2.2) add these.
SLURM_PMI2 = {"PMI_FD": "13", "PMI_JOBID": "2.0", "PMI_RANK": "2", "PMI_SIZE": "3"}
SLURM_PMIX = {"PMIX_HOSTNAME": "vm", "PMIX_NAMESPACE": "slurm.pmix.2.0", "PMIX_RANK": "2"}
# Slurm 22.05.8, the daemon on the second of two nodes that mpirun or mpiexec starts by srun: what
# its ranks see beside their own launcher's variables.
DAEMON = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEPID": "3",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}


@pytest.mark.parametrize(
    ("environ", "launcher", "local_rank", "address", "job"),
    [
        (SEEN["Open MPI"], "Open MPI", 1, "127.0.0.1", "prterun-vm-3226@1"),
        (SEEN["MPICH"] | MEET, "MPICH or Intel MPI", 0, "node1", ""),
        (
            SEEN["Intel MPI"],
            "MPICH or Intel MPI",
            2,
            "127.0.0.1",
            "2a4b0000-ad8c-2ca9-f860-0600939bbf02",
        ),
        (SEEN["Slurm"], "Slurm", 0, "n1", "1.0"),
        (SEEN["Slurm"] | SLURM_PMI2, "Slurm", 0, "n1", "1.0"),
        (SEEN["Slurm"] | SLURM_PMIX, "Slurm", 0, "n1", "1.0"),
        (SEEN["Open MPI"] | DAEMON, "Open MPI", 1, "127.0.0.1", "prterun-vm-3226@1"),
        (SEEN["MPICH"] | DAEMON | MEET, "MPICH or Intel MPI", 0, "node1", ""),
    ],
)
def test_what_real_launchers_set(environ, launcher, local_rank, address, job):
    launch = read_launch(environ)
    assert (launch.launcher, launch.rank, launch.num_ranks) == (launcher, 2, 3)
    assert (launch.local_rank, launch.address, launch.job) == (local_rank, address, job)


def test_ranks_of_mpi_whose_numbers_are_also_those_of_their_daemons():
    # Open MPI 5.0.11, mpirun -n 2 in a job of Slurm 22.05.8 on two nodes: both ranks run under the
    # first of two daemons, and one has its number. Both must look for the same meeting point.
    both = SEEN["Open MPI"] | DAEMON | {"SLURM_PROCID": "0"}
    both |= {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    launches = [
        read_launch(
            both | dict.fromkeys(("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"), rank)
        )
        for rank in ("0", "1")
    ]
    assert [launch.rank for launch in launches] == [0, 1]
    assert {(launch.launcher, launch.address) for launch in launches} == {("Open MPI", "127.0.0.1")}
    assert launches[0].port == launches[1].port
    # MPICH 5.0.2, mpiexec -n 2 -ppn 1 there.
    mpich = SEEN["MPICH"] | DAEMON | MEET | {"PMI_RANK": "1", "PMI_SIZE": "2"}
    assert read_launch(mpich).launcher == "MPICH or Intel MPI"


def test_two_launches_of_intel_mpi_on_one_machine_choose_two_ports():
    other = {"I_MPI_HYDRA_UUID": "4b6f0000-1c11-9d2f-fa60-0600939bbf02"}
    ports = [read_launch(SEEN["Intel MPI"] | more).port for more in ({}, other)]
    assert ports[0] != ports[1]


def test_tasks_that_the_user_has_dealt_out_must_be_told_where_to_meet():
    # Slurm 22.05.8, srun --distribution=arbitrary with a SLURM_HOSTFILE of n2, n1: task 0 is on n2.
    dealt = SEEN["Slurm"] | {"SLURM_DISTRIBUTION": "arbitrary"}
    with pytest.raises(InputError, match="MASTER_ADDR must be set to the host of task 0"):
        read_launch(dealt)
    assert read_launch(dealt | {"MASTER_ADDR": "n2"}).address == "n2"
    assert read_launch(dealt | {"SLURM_STEP_NUM_NODES": "1"}).address == "127.0.0.1"
    assert read_launch(dealt | {"SLURM_DISTRIBUTION": "cyclic"}).address == "n1"


@pytest.mark.parametrize(
    ("environ", "launcher"),
    [
        (TORCHRUN, "torchrun"),
        (SRUN | MEET, "Slurm"),
        (OPEN_MPI | MEET, "Open MPI"),
        (HYDRA | MEET, "MPICH or Intel MPI"),
        (PALS | MEET, "MPICH or Intel MPI"),
        (MVAPICH | MEET, "MVAPICH2"),
    ],
)
def test_each_launcher_tells_the_same(environ, launcher):
    launch = read_launch(environ)
    assert launch.launcher == launcher
    assert (launch.rank, launch.num_ranks, launch.local_rank) == (5, 8, 1)
    assert launch.address == "node1"
    assert launch.port == int(environ["MASTER_PORT"])


def test_pmix_alone_does_not_tell_how_many():
    pmix = {"PMIX_RANK": "5", "PMIX_NAMESPACE": "x@1"} | MEET
    with pytest.raises(InputError, match="WORLD_SIZE must be set, as PMIX_RANK is set"):
        read_launch(pmix)
    launch = read_launch(pmix | {"WORLD_SIZE": "8"})
    assert (launch.launcher, launch.rank, launch.num_ranks) == ("PMIx", 5, 8)
    assert launch.local_rank is None


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PATH": "/bin", "MASTER_ADDR": "node1", "RANK": ""},
        SBATCH,
        {k: v for k, v in SBATCH.items() if k != "SLURM_PROCID"},  # the shell of salloc
        # An interactive step (srun --interactive): 0xfffffffa = 4294967290.
        SBATCH | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_a_process_that_none_launched_is_alone(environ):
    assert read_launch(environ) == Launch()
    assert Launch().num_ranks == 1


def test_torchrun_tells_of_restarts_and_of_its_store():
    launch = read_launch(TORCHRUN)
    assert (launch.restart_count, launch.keeps_store) == (2, True)
    changed = TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "False"}
    assert not read_launch(changed).keeps_store
    plain = {k: TORCHRUN[k] for k in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    launch = read_launch(plain)
    assert (launch.restart_count, launch.keeps_store, launch.local_rank) == (0, False, None)


def test_tasks_of_slurm_meet_on_the_first_node_of_their_step():
    launch = read_launch(SRUN)
    assert launch.address == "gnode10"
    # The port is the same on all ranks, and another in another job or step.
    assert read_launch(SRUN | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).port == launch.port
    ports = {read_launch(SRUN | {"SLURM_JOB_ID": str(job)}).port for job in range(1000, 1010)}
    assert read_launch(SRUN | {"SLURM_STEP_ID": "1"}).port != launch.port
    assert len(ports) == 10
    # Below the ports that the kernel gives to connections (32768 and up).
    assert all(20_000 <= port < 32_000 for port in ports)
    assert read_launch(SRUN | {"SLURM_RESTART_COUNT": "3"}).restart_count == 3


def test_tasks_of_slurm_on_one_node_need_no_names():
    assert read_launch(SRUN | {"SLURM_STEP_NUM_NODES": "1"}).address == "127.0.0.1"


def test_slurm_without_a_list_of_nodes():
    bare = {k: v for k, v in SRUN.items() if k != "SLURM_STEP_NODELIST"}
    assert read_launch(bare | {"SLURM_JOB_NODELIST": "a7,b1"}).address == "a7"
    assert read_launch(bare).address == "10.0.0.99"
    del bare["SLURM_LAUNCH_NODE_IPADDR"]
    with pytest.raises(InputError, match="MASTER_ADDR must be set, as SLURM_STEP_NODELIST is not"):
        read_launch(bare)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gnode10", "gnode10"),
        ("gnode[10,20,25,37]", "gnode10"),
        ("n[008-011,20],m1", "n008"),
        ("a,b[1-2]", "a"),
        ("rack[1-2]n[01-16]", "rack1n01"),
        ("r[3]-ib.site,x", "r3-ib.site"),
    ],
)
def test_first_name_of_a_host_list(nodes, first):
    assert first_of(nodes, "SLURM_STEP_NODELIST") == first


@pytest.mark.parametrize("nodes", ["n[1-2", ",a", "[]"])
def test_broken_host_lists(nodes):
    with pytest.raises(InputError, match="SLURM_STEP_NODELIST must"):
        first_of(nodes, "SLURM_STEP_NODELIST")


def test_a_smaller_step_of_a_larger_job():
    step = {"SLURM_NTASKS": "64", "SLURM_STEP_NUM_TASKS": "8"}
    assert read_launch(SRUN | step).num_ranks == 8
    del step["SLURM_STEP_NUM_TASKS"]
    without = {k: v for k, v in SRUN.items() if k != "SLURM_STEP_NUM_TASKS"}
    assert read_launch(without | step).num_ranks == 64


def test_the_inner_launcher_counts():
    # srun starts one torchrun, or one daemon of mpirun, on each node.
    daemon = SRUN | {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    assert read_launch(daemon | TORCHRUN).launcher == "torchrun"
    assert read_launch(daemon | OPEN_MPI | MEET).launcher == "Open MPI"
    assert read_launch(daemon | HYDRA | MEET).num_ranks == 8
    assert read_launch(OPEN_MPI | TORCHRUN).launcher == "torchrun"
    pmix = {"PMIX_RANK": "5", "WORLD_SIZE": "8"}
    assert read_launch(daemon | pmix | MEET).launcher == "PMIx"


def test_slurm_with_its_own_pmi_is_slurm():
    # srun --mpi=pmi2 and --mpi=pmix; many scripts export WORLD_SIZE, too.
    for more in ({"PMI_RANK": "5", "PMI_SIZE": "8"}, {"PMIX_RANK": "5", "WORLD_SIZE": "8"}):
        launch = read_launch(SRUN | more)
        assert (launch.launcher, launch.address) == ("Slurm", "gnode10")


def test_processes_of_mpi_on_one_machine_meet_there():
    local = {"OMPI_COMM_WORLD_LOCAL_SIZE": "8"}
    launch = read_launch(OPEN_MPI | local)
    assert launch.address == "127.0.0.1"
    other = read_launch(OPEN_MPI | local | {"PMIX_NAMESPACE": "prterun-node1-78@1"})
    assert other.port != launch.port
    assert (launch.job, other.job) == ("prterun-node1-77@1", "prterun-node1-78@1")
    assert read_launch(OPEN_MPI | local | {"MASTER_PORT": "77"}).port == 77


@pytest.mark.parametrize(
    ("environ", "launcher"), [(OPEN_MPI, "Open MPI"), (HYDRA, "MPICH"), (MVAPICH, "MVAPICH2")]
)
def test_processes_of_mpi_on_several_machines_must_be_told(environ, launcher):
    with pytest.raises(InputError, match=f"MASTER_ADDR must be set .*{launcher}.*mpirun -x"):
        read_launch(environ)


def test_one_process_needs_no_meeting_point():
    launch = read_launch({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"})
    assert (launch.launcher, launch.num_ranks) == ("Open MPI", 1)


def test_nodes_may_be_emulated():
    assert read_launch(TORCHRUN).ranks_per_node is None
    assert read_launch(TORCHRUN | {"EXASTORM_RANKS_PER_NODE": "2"}).ranks_per_node == 2


@pytest.mark.parametrize(
    ("environ", "change", "message"),
    [
        (TORCHRUN, {"WORLD_SIZE": ""}, "WORLD_SIZE must be set, as RANK is set"),
        (TORCHRUN, {"RANK": ""}, "RANK must be set, as WORLD_SIZE is set"),
        (TORCHRUN, {"RANK": "8"}, r"RANK must be less than WORLD_SIZE \(8\), got 8"),
        (TORCHRUN, {"RANK": "-1"}, "RANK must be a whole number from 0, got '-1'"),
        (TORCHRUN, {"RANK": "one"}, "RANK must be a whole number from 0, got 'one'"),
        (TORCHRUN, {"WORLD_SIZE": "0"}, "WORLD_SIZE must be a whole number from 1, got '0'"),
        (TORCHRUN, {"LOCAL_RANK": "4"}, r"LOCAL_RANK must be less than LOCAL_WORLD_SIZE \(4\)"),
        (TORCHRUN, {"LOCAL_RANK": ""}, "LOCAL_RANK must be set, as LOCAL_WORLD_SIZE is set"),
        (TORCHRUN, {"LOCAL_WORLD_SIZE": "9"}, r"LOCAL_WORLD_SIZE must be at most WORLD_SIZE \(8\)"),
        (TORCHRUN, {"MASTER_ADDR": ""}, "MASTER_ADDR must be set"),
        (TORCHRUN, {"MASTER_PORT": ""}, "MASTER_PORT must be set"),
        (TORCHRUN, {"MASTER_PORT": "70000"}, "MASTER_PORT must be from 1 to 65535, got 70000"),
        (TORCHRUN, {"EXASTORM_RANKS_PER_NODE": "0"}, "EXASTORM_RANKS_PER_NODE must be a whole"),
        (TORCHRUN, {"TORCHELASTIC_RESTART_COUNT": "x"}, "TORCHELASTIC_RESTART_COUNT must be"),
        (SRUN, {"SLURM_PROCID": "8"}, r"SLURM_PROCID must be less than SLURM_STEP_NUM_TASKS \(8\)"),
        (
            SRUN,
            {"SLURM_STEP_NUM_TASKS": "", "SLURM_NTASKS": ""},
            "SLURM_STEP_NUM_TASKS or SLURM_NTASKS must be set, as SLURM_PROCID is set",
        ),
        (OPEN_MPI, {"OMPI_COMM_WORLD_RANK": ""}, "OMPI_COMM_WORLD_RANK must be set"),
        # RANK=0 exported for all processes of mpirun.
        (
            OPEN_MPI | MEET,
            {"RANK": "0", "WORLD_SIZE": "8"},
            r"RANK must be OMPI_COMM_WORLD_RANK \(5\), got 0",
        ),
    ],
)
def test_what_contradicts_itself(environ, change, message):
    with pytest.raises(InputError, match=message):
        read_launch(environ | change)
