//! Detects restored carriers: a cable plugged in again, or Wi-Fi that reconnected.
//!
//! libp2p watches addresses only, and an address stays when a cable is unplugged. On Linux the kernel reports
//! every link change on a netlink socket (measured: within 2 ms). Elsewhere nothing is detected, and the
//! regular beacon finds the peers again.

/// Watches the carriers of the interfaces of this host.
pub(crate) struct LinkStateWatcher {
    #[cfg(target_os = "linux")]
    netlink: Option<netlink::CarrierListener>,
}

impl LinkStateWatcher {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            netlink: netlink::CarrierListener::open()
                .inspect_err(|error| tracing::debug!(%error, "cannot watch carriers"))
                .ok(),
        }
    }

    /// Waits until a carrier is restored. Cancel safe.
    pub(crate) async fn carrier_restored(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(netlink) = &mut self.netlink {
            match netlink.carrier_restored().await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "carriers are no longer watched"),
            }
            self.netlink = None;
        }
        std::future::pending().await
    }
}

#[cfg(target_os = "linux")]
mod netlink {
    use std::collections::HashMap;
    use std::io;

    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::LinkFlags;
    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

    use crate::limits;

    /// The netlink multicast group of link changes.
    const RTMGRP_LINK: u32 = 1;

    /// The netlink socket, and the last known carrier of each interface.
    pub(super) struct CarrierListener {
        socket: TokioSocket,
        up_by_interface: HashMap<u32, bool>,
    }

    impl CarrierListener {
        pub(super) fn open() -> io::Result<Self> {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, RTMGRP_LINK))?;
            Ok(Self { socket, up_by_interface: HashMap::new() })
        }

        /// Waits until a carrier is restored. Cancel safe. After an error the socket is unusable.
        pub(super) async fn carrier_restored(&mut self) -> io::Result<()> {
            loop {
                let (packet, sender) = self.socket.recv_from_full().await?;
                // Only the kernel has port 0; messages of other processes are ignored.
                if sender.port_number() == 0 && self.on_packet(&packet) {
                    return Ok(());
                }
            }
        }

        /// Handles one packet; true if an interface regained its carrier.
        fn on_packet(&mut self, packet: &[u8]) -> bool {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(packet) else {
                return false;
            };
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link_message)) = message.payload
            else {
                return false;
            };
            if self.up_by_interface.len() >= limits::MAX_WATCHED_INTERFACES {
                self.up_by_interface.clear();
            }
            let is_up =
                link_message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running);
            let was_up = self.up_by_interface.insert(link_message.header.index, is_up);
            is_up && was_up == Some(false)
        }
    }
}
